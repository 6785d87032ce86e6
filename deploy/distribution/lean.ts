/**
 * How Node runs swarmd, a daemon that waits most of the time: a young generation of 1 MiB a half, which grows on managers alone
 * (services/swarmd/heap-growth.ts), few malloc arenas though many short-lived threads allocate, and freed memory goes
 * back to the kernel. More threads for files than Node's four, so that raft's log does not queue behind those of containers.
 *
 * Pitfall: with most flags of V8 (--expose-gc is one) it takes none of the code caches that Node has of its own modules, as
 * `v8.cachedDataVersionTag()` tells by another number: a start takes 30 ms longer, and 2 MiB more.
 */
export const lean = {
  flags: ["--min-semi-space-size=1", "--max-semi-space-size=16"],
  env: { MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "262144", UV_THREADPOOL_SIZE: "8" },
};
