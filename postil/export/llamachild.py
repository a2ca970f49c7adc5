"""llama.cpp's server out of the package xllamacpp, in a process that loads nothing else; told by one line of JSON."""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serve until standard input ends."""
    told = json.loads(sys.stdin.readline())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = told["model"]
    if told["adapter"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(told["adapter"], 1.0)]
    params.hostnames = ["127.0.0.1"]
    params.port = told["port"]
    params.api_keys = [told["key"]]
    params.n_ctx, params.n_parallel = told["context"], 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = told["threads"]
    params.n_gpu_layers = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # the file's numbers, not a cache's
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.use_jinja, params.warmup = True, False
    params.offline = True
    server = xllamacpp.Server(params)
    sys.stdin.read()
    assert server is not None
    os._exit(0)  # its own farewell takes ten seconds


if __name__ == "__main__":
    main()
