/** One half of V8's young generation, in MiB: it can be chosen when Node starts only. */
const young = {
  /** A worker waits most of the time, and takes 13 MiB less under load than with Node's own choice of 16. */
  worker: 2,
  /** With less, what a manager's requests leave behind reaches the old generation, whose collections hold its thread for 100 ms and more. */
  manager: 16,
};

const flagsOf = (mebibytes: number) => [`--max-semi-space-size=${mebibytes}`, "--expose-gc"];

/**
 * How Node runs swarmd, a daemon that waits most of the time: a young generation by its role, a collector that can be asked to
 * free the buffers of streams, few malloc arenas though many short-lived threads allocate, and freed memory goes back to
 * the kernel. More threads for files than Node's four, so that raft's log does not queue behind those of containers.
 */
export const lean = {
  flags: { worker: flagsOf(young.worker), manager: flagsOf(young.manager) },
  env: { MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "262144", UV_THREADPOOL_SIZE: "8" },
};
