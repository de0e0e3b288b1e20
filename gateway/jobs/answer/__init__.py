"""Answers from memory and from storage, writes their rows behind them, and makes views of jobs and health."""
