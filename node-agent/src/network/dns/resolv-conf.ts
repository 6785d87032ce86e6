/** Pure: no clock, no I/O, no randomness. */
import { nameServerAddress } from "../nft-task.ts";

/** What a host's or container's resolv.conf says. */
export interface ResolverConfig {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export function parseResolvConf(text: string): ResolverConfig {
  const config = { nameservers: [] as string[], search: [] as string[], options: [] as string[] };
  for (const line of text.split("\n")) {
    const [keyword, ...values] = line.trim().split(/\s+/);
    if (keyword === "nameserver" && values[0] !== undefined && values[0] !== nameServerAddress)
      config.nameservers.push(values[0]);
    else if (keyword === "search" || keyword === "domain") config.search = values;
    else if (keyword === "options") config.options.push(...values);
  }
  return config;
}

/** resolv.conf of a task: our name server, the host's search domains unless the task has its own. */
export function renderResolvConf(
  host: ResolverConfig,
  task: Partial<Pick<ResolverConfig, "search" | "options">>,
): string {
  const search = task.search?.length ? task.search : host.search;
  const options = task.options?.length ? task.options : ["ndots:0"];
  const lines = [`nameserver ${nameServerAddress}`];
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  lines.push(`options ${options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}
