import { readdirSync } from "node:fs";
import { performance } from "node:perf_hooks";
import type { Counter, Metrics } from "@starling/base";

/** Prometheus' standard metrics of a process, and Node's own; called for each scrape. */
export function collectProcessMetrics(metrics: Metrics): void {
  const { user, system } = process.cpuUsage();
  const memory = process.memoryUsage();
  const loop = performance.eventLoopUtilization();
  setTotal(metrics.counter("process_cpu_seconds_total", "User and system CPU time."), (user + system) / 1e6);
  metrics.gauge("process_resident_memory_bytes", "Resident memory.").set(memory.rss);
  metrics.gauge("process_start_time_seconds", "Start, since the epoch.").set(performance.timeOrigin / 1000);
  metrics.gauge("process_open_fds", "Open file descriptors.").set(readdirSync("/proc/self/fd").length);
  metrics.gauge("nodejs_heap_size_total_bytes", "Size of the JavaScript heap.").set(memory.heapTotal);
  metrics.gauge("nodejs_heap_size_used_bytes", "Used part of the JavaScript heap.").set(memory.heapUsed);
  metrics.gauge("nodejs_external_memory_bytes", "Memory outside of the heap, held by it.").set(memory.external);
  const busy = "Seconds in which the main thread was not waiting for events.";
  setTotal(metrics.counter("nodejs_eventloop_active_seconds_total", busy), loop.active / 1000);
}

/** Takes over a total that the system counts. */
function setTotal(counter: Counter, total: number): void {
  counter.reset();
  counter.inc(total);
}
