"""The installation as a whole: what waits, who works, what adds up, what is wrong, and how it is moved."""
