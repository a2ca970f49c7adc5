"""OpenAI's own routes: files, uploads, fine-tuning jobs, models, chat completions."""

from postil.api.openai import chat, files, jobs, models, permissions, uploads

ROUTERS = tuple(module.router for module in (files, uploads, jobs, permissions, models, chat))

__all__ = ["ROUTERS"]
