import { readFile } from "node:fs/promises";
import { SwarmError } from "@starling/base";
import type { IdMapping, IdMaps } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";

/** Docker's name for whose ranges `default` means. */
const defaultUser = "dockremap";

/** Texts of the host's files. */
export interface IdFiles {
  readonly passwd: string;
  readonly subuid: string;
  readonly subgid: string;
}

/**
 * The user namespace of a node's containers, as dockerd's `--userns-remap` means it: `default`, or USER[:GROUP], each a name or a
 * number whose subordinate ids are the container's from 0 on. Throws InvalidArgument naming the file that lacks them.
 */
export async function readIdMaps(remap: string): Promise<IdMaps> {
  const text = (path: string) => readFile(path, "utf8").catch(() => "");
  const [passwd, subuid, subgid] = await Promise.all(["/etc/passwd", "/etc/subuid", "/etc/subgid"].map(text));
  return idMapsOf(remap, { passwd: passwd!, subuid: subuid!, subgid: subgid! });
}

/** As `readIdMaps`, of files that were read. */
export function idMapsOf(remap: string, files: IdFiles): IdMaps {
  const [user = "", group = user, ...more] = remap === "default" ? [defaultUser] : remap.split(":");
  if (user === "" || group === "" || more.length > 0) throw refusal(remap, "write default, or USER[:GROUP]");
  const uids = rangesOf(user, files.subuid, files.passwd);
  const gids = rangesOf(group, files.subgid, files.passwd);
  const missing = [uids.length === 0 && ["/etc/subuid", user], gids.length === 0 && ["/etc/subgid", group]];
  for (const [file, name] of missing.filter((item) => item !== false)) {
    throw refusal(remap, `${file} gives ${name} no ids; add a line such as ${name}:100000:65536`);
  }
  return { uids, gids };
}

/** Ranges of one user, lowest first, one behind the other in the container. */
function rangesOf(user: string, text: string, passwd: string): readonly IdMapping[] {
  const aliases = new Set([user]);
  for (const [name = "", , uid = ""] of passwd.split("\n").map((line) => line.split(":"))) {
    if (name === user || uid === user) for (const alias of [name, uid]) aliases.add(alias);
  }
  const ranges = text.split("\n").flatMap((line) => {
    const match = /^([^:#]+):(\d+):(\d+)\s*$/.exec(line);
    const [host, size] = [Number(match?.[2]), Number(match?.[3])];
    return match !== null && aliases.has(match[1]!) && size > 0 && host + size <= 0x7fffffff ? [{ host, size }] : [];
  });
  let container = 0;
  return ranges
    .sort((a, b) => a.host - b.host)
    .map(({ host, size }) => {
      container += size;
      return { container: container - size, host, size };
    });
}

/** The host's numbers of a user and a group of the container; without a user namespace they are the same. */
export function hostOwner(
  ids: IdMaps | undefined,
  uid: number,
  gid: number,
): { readonly uid: number; readonly gid: number } {
  const hostId = (mappings: readonly IdMapping[], id: number, what: string): number => {
    const of = mappings.find(({ container, size }) => id >= container && id < container + size);
    if (of === undefined) {
      throw new FatalTaskError(`${what} ${id}: not among the ids of this node's containers (swarmd --userns-remap)`);
    }
    return of.host + id - of.container;
  };
  return ids === undefined ? { uid, gid } : { uid: hostId(ids.uids, uid, "user"), gid: hostId(ids.gids, gid, "group") };
}

function refusal(remap: string, remedy: string): SwarmError {
  return new SwarmError("InvalidArgument", `--userns-remap ${JSON.stringify(remap)}: ${remedy}`);
}
