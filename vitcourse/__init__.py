"""What the course's notebooks import: checks, quizzes, data, training, pictures. It holds no answer to an exercise."""

from vitcourse.checking import check
from vitcourse.notebook import setup
from vitcourse.quiz import predict, quiz

__version__ = "0.1.0"
__all__ = ["check", "predict", "quiz", "setup"]
