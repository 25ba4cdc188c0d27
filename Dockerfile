# The grader in a container. How to run it, and what protects what: docs/instructors.md
FROM python:3.11-slim
WORKDIR /opt/vit-course
COPY . .
RUN python -m pip install --no-cache-dir -c constraints.txt -e ".[grader]"
# The course folder is mounted here; every command finds it without --course.
ENV VIT_COURSE=/course
VOLUME /course
WORKDIR /course
ENTRYPOINT ["grader"]
CMD ["--help"]
