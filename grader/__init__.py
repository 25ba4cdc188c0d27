"""What instructors and maintainers run: build, release, collect, autograde, feedback, export, report, audit."""
