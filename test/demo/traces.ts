import type { Host } from "../cluster/index.ts";

/** What containers and their networks leave on a host while they exist, as lines that can be compared. */
export interface Traces {
  readonly processes: readonly string[];
  readonly devices: readonly string[];
  /** Namespaces other than the host's that a process lives in or holds open. */
  readonly namespaces: readonly string[];
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  /** Folders of containers: sockets, writable layers, logs. */
  readonly folders: readonly string[];
  readonly rules: readonly string[];
}

/** Looks at a host from inside: processes but its daemons, network devices, mounts, cgroups, service rules. */
export async function tracesOf(host: Host): Promise<Traces> {
  const lines = async (script: string) =>
    (await host.mustExec(script)).split("\n").filter((line) => line.trim() !== "");
  const daemons =
    /swarmd\/main\.ts|lib\/swarmd\.mjs|docker-registry|\.cache\/test-host|writer\.ts|^ps -eo|^sh -c ps -eo/;
  // A host that was switched off and on has new namespaces of its own.
  const own = new Set(await lines("readlink /proc/1/ns/*"));
  return {
    processes: (await lines("ps -eo args --no-headers")).filter((line) => !daemons.test(line)),
    devices: await lines("ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\\1/' | sort"),
    namespaces: (
      await lines(
        "(readlink /proc/[0-9]*/ns/*; find /proc/[0-9]*/fd -lname '*:\\[*' -printf '%l\\n') 2>/dev/null | grep -E '^(net|mnt|pid|ipc|uts|cgroup|user):' | sort -u || true",
      )
    ).filter((line) => !own.has(line)),
    mounts: await lines("cut -d' ' -f2 /proc/self/mounts | sort"),
    folders: await lines("ls -d /run/starling/containers/* /var/lib/swarmd/containers/* 2>/dev/null || true"),
    cgroups: (
      await Promise.all(
        host.cgroups.map((folder) =>
          lines(`find ${folder} -mindepth 1 -type d -printf '%P\\n' 2>/dev/null | sort || true`),
        ),
      )
    )
      .flat()
      .filter((folder) => folder !== "writer"),
    rules: (await lines("nft list ruleset 2>/dev/null | grep -E 'dnat|: goto' || true")).map((line) => line.trim()),
  };
}

/** What is there now and was not before, in words; empty when nothing is. */
export function leftOver(before: Traces, after: Traces): string[] {
  const out: string[] = [];
  for (const key of Object.keys(before) as (keyof Traces)[]) {
    const known = new Set(before[key]);
    for (const line of after[key]) if (!known.has(line)) out.push(`${key}: ${line}`);
  }
  return out;
}
