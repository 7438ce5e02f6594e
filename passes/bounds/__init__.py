"""What expressions can be over rectangles of pairs: intervals, the bits they need, and tiles found by cutting rectangles."""
