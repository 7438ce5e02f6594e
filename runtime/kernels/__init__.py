"""From a program to a kernel: which one is meant, where it is looked for, how it is made."""
