"""What the book's notebooks need besides the package."""

from fedlib.book.chapter import check, glue, profile, start

__all__ = ["check", "glue", "profile", "start"]
