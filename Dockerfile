# One image for all processes:
#   docker run … sendoff                        the API on port 8000
#   docker run … sendoff python -m worker       a worker
#   docker run … sendoff python -m sendoff.cli migrate
# Settings come from the environment; how to run it read-only, without rights: docs/how-to/run-the-image.md.
FROM python:3.11-slim AS build
COPY requirements/run.txt requirements/run.txt
# The environment gets no pip of its own: it holds what the lock names and nothing else.
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.txt
COPY sendoff /opt/sendoff/sendoff
COPY api /opt/sendoff/api
COPY worker /opt/sendoff/worker
# Independent of the modes in the checkout: everyone reads, only root writes. Compiled here: nothing can be written later.
RUN chmod -R u=rwX,go=rX /opt/sendoff \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/sendoff

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/sendoff PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SENDOFF_LOG_FORMAT=json SENDOFF_STORAGE_URL=file:///var/lib/sendoff/uploads
# A new volume that is mounted here takes over its owner: the only place that the processes can keep anything in.
RUN install -d -m 0700 -o 10001 -g 10001 /var/lib/sendoff
WORKDIR /opt/sendoff
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/sendoff /opt/sendoff
# A number without a name: no account of the image's, and the orchestrator can check that it isn't root.
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api", "--host", "0.0.0.0", "--port", "8000"]
