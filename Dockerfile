# docker build -t detector-course . && docker run --rm -it -p 8888:8888 detector-course
# JupyterLab prints its address with a token; -e JUPYTER_TOKEN=... sets one. To keep what the
# lessons write, add: -v course-runs:/home/learner/course/runs
FROM python:3.12.12-slim-bookworm

# make, for the commands of the README; nothing else is needed: OpenCV is the headless build.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make=4.3-4.1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 learner

USER 1000
WORKDIR /home/learner/course
ENV VIRTUAL_ENV=/home/learner/course/.venv \
    PATH=/home/learner/course/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1

# The lock first: its layer (3.9 GB) is built again only when the lock changes.
COPY --chown=learner:learner requirements.txt ./
RUN python -m venv .venv \
    && pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt

COPY --chown=learner:learner . ./
# `ready` tells make that this environment is the lock's; `runs` exists so that a volume
# mounted there belongs to the learner.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && sed 's/ *#.*//' requirements.txt > .venv/ready \
    && mkdir -p runs

EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8888/api', timeout=4)"]
# bash without -l: a login shell would lose this PATH, and with it papermill and tensorboard.
CMD ["python", "-m", "jupyterlab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--ServerApp.root_dir=.", "--ServerApp.terminado_settings=shell_command=['bash']", "--LanguageServerManager.autodetect=False", "--FileContentsManager.pre_save_hook=helpers.course.saving.without_widgets", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]
