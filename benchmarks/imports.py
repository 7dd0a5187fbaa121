"""What `import weightdecay` adds to `import torch`: medians over fresh interpreters.

python benchmarks/imports.py
"""

import statistics
import subprocess
import sys

CODE = """
import time
start = time.perf_counter()
import torch
torch_ready = time.perf_counter()
import weightdecay
imported = time.perf_counter()
weightdecay.AdamS
print(torch_ready - start, imported - torch_ready, time.perf_counter() - imported)
"""


def main(runs: int = 9) -> None:
    rows = [
        subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True) for _ in range(runs)
    ]
    columns = zip(*(map(float, row.stdout.split()) for row in rows), strict=True)
    torch, package, name = (1e3 * statistics.median(column) for column in columns)
    print(f"import torch {torch:.0f} ms · import weightdecay + {package:.1f} ms · its first optimizer + {name:.0f} ms")


if __name__ == "__main__":
    main()
