"""Accuracy, speed, memory, executed precision, host facts: functions over a Session, knowing no runtime."""
