"""Requests that are several launches: of some heads, of some tokens."""
