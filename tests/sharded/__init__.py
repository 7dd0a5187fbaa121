"""What the processes of the sharded tests measure: one idea a file, each of which enters its scenarios in the table.

A scenario compares a model that is spread over the processes with the same model in one process, moved by the reference
engine; both are float64 unless said otherwise. What it measures:

``difference``  largest difference of any weight after the run, relative to the tensor's largest weight
``replicas``    largest difference between the processes' copies of the model, which must be 0
``collectives`` the most collectives of any kind in one ``optimizer.step()``
"""
