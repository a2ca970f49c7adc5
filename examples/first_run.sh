#!/usr/bin/env bash
# The whole story on one sheet: import → plan → train → evaluate → answer. Each command tells its options with --help.
#
#   examples/first_run.sh                        the sample sheet and the embedded demonstration model
#   examples/first_run.sh my.xlsx qwen3-0.6b     your own sheet, and a model that fits it
set -euo pipefail

SHEET=${1:-$(dirname "$0")/../postil/samples/titles.xlsx}
MODEL=${2:-smollm2-135m-instruct}
OUT=${3:-out/first-run}
INSTRUCTION=${INSTRUCTION:-"请从下面的商品标题中找出最核心的商品主体，只输出主体名称，不要添加其它文字："}
mkdir -p "$OUT"

# What is in the sheet, what was repaired, what is wrong: all of it, with row and cell. Your own workbook comes back
# with the cells marked; the cleaned examples as JSONL.
postil check "$SHEET" --instruction "$INSTRUCTION" --report "$OUT/marked.xlsx" --fixed "$OUT/cleaned.jsonl"

# What exactly the model will learn, token by token. Training refuses to start when this is wrong.
postil models pull "$MODEL"
postil xray "$SHEET" --base "$MODEL" --instruction "$INSTRUCTION" --rows 2

# Every parameter with its reason, and what it will cost. Any of them can be set: --set n_epochs=5.
postil plan "$SHEET" --base "$MODEL" --instruction "$INSTRUCTION" --preset quick_try

# Killed, or the power went out? The same command with --resume goes on, to the same bytes.
postil train "$SHEET" --base "$MODEL" --instruction "$INSTRUCTION" --preset quick_try --output "$OUT/adapter"

# Is it better? Both models answer rows that the training never saw; the verdict says how sure it is.
postil evaluate "$OUT/adapter"
postil compare "$OUT/adapter" "2025新款夏季碎花雪纺连衣裙女收腰显瘦长裙"

# The point of it all: a sheet of new titles comes back with the answers as a new column.
postil answer "$OUT/adapter" "$SHEET" --output "$OUT/answered.xlsx"
