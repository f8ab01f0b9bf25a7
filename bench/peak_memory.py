"""Runs a command that measures one workload in one mode, passes on the line that it prints, and adds one with the peak
resident memory of its process: python peak_memory.py python torch_bench.py --only W3 --modes eager
"""
import json
import os
import subprocess
import sys

KIB = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss


def main():
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    lines = [line for line in child.stdout.read().splitlines() if line.startswith("{")]
    _, status, usage = os.wait4(child.pid, 0)
    records = [record for record in map(json.loads, lines) if "median" in record]
    if status or len(records) != 1:
        sys.exit(f"status {status}, {len(records)} figures; the memory can be told for one workload in one mode")
    memory = {"metric": "peak_rss", "median": round(usage.ru_maxrss * KIB / 2**20, 1), "unit": "MiB"}
    same = {key: records[0][key] for key in ("framework", "mode", "workload")}
    print(json.dumps(records[0]), json.dumps({**same, **memory}), sep="\n")


main()
