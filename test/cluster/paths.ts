import { join } from "node:path";

/** The repository's root folder. */
export const repositoryRoot = join(import.meta.dirname, "../..");
/** Built and downloaded things that can be made again; not in git. */
export const cacheFolder = join(repositoryRoot, ".cache");
/** Records of the clusters that exist on this machine: one folder each. */
export const recordsFolder = "/run/starling-test";
/** What hosts keep over a power cut: one folder per cluster and host. On disk, so that fsync costs what it costs. */
export const statesFolder = "/var/lib/starling-test";
