from mpkv.workers.execute import Executor
from mpkv.workers.link import WorkerLink

def serve(link: WorkerLink, executor: Executor, timeout_ms: int, until: float) -> bool: ...
