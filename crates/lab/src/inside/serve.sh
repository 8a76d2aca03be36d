#!/bin/busybox sh
# Runs the one command line that a connection brings and answers with its output.
IFS= read -r line
exec sh -c "$line" 2>&1
