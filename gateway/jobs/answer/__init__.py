"""Answers from memory and from the store, the rows written behind them, and views of jobs."""
