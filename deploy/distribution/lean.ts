/**
 * How Node runs swarmd, a daemon that waits most of the time: a young generation of 2 MiB a half, which grows on managers alone
 * (services/swarmd/young-generation.ts), a collector that can be asked to free the buffers of streams, few malloc arenas though
 * many short-lived threads allocate, and freed memory goes back to the kernel. More threads for files than Node's four, so
 * that raft's log does not queue behind those of containers.
 */
export const lean = {
  flags: ["--min-semi-space-size=2", "--max-semi-space-size=16", "--expose-gc"],
  env: { MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "262144", UV_THREADPOOL_SIZE: "8" },
};
