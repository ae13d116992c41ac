"""What a scan found, for people and for machines. No report holds a value or a part of one."""
