# One image for all processes:
#   docker run … sendoff                        the API on port 8000
#   docker run … sendoff python -m worker       a worker
#   docker run … sendoff python -m sendoff.cli migrate
# Settings come from the environment (docs/reference/settings.md); nothing is written inside the image.
FROM python:3.11-slim AS build
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/sendoff PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SENDOFF_LOG_FORMAT=json
WORKDIR /opt/sendoff
COPY --from=build /opt/venv /opt/venv
COPY sendoff sendoff
COPY api api
COPY worker worker
# A number without a name: no account of the image's, and the orchestrator can check that it isn't root.
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api", "--host", "0.0.0.0", "--port", "8000"]
