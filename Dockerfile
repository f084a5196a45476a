# One image for web and worker; see docs/deploy.md. The first stage installs what uv.lock names, the second has the result.
FROM python:3.14-slim AS build
RUN pip install --no-cache-dir "uv>=0.11,<0.14"
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/app/.venv
WORKDIR /app
# The dependencies change seldom: a layer of their own.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-default-groups --no-install-project --python /usr/local/bin/python3
# `.env.example` is what receiver/cli/dev/env.example links to.
COPY README.md LICENSE .env.example ./
COPY workflows workflows
COPY activities activities
COPY receiver receiver
RUN uv sync --locked --no-default-groups --no-editable --python /usr/local/bin/python3

FROM python:3.14-slim
RUN useradd --system --uid 10001 --no-create-home stagehook
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /tmp
EXPOSE 8000
# Web is the default. A worker listens on no port: run it with `stagehook worker` and without the health check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/healthz', timeout=4)"]
CMD ["stagehook", "serve"]
