import { chmod, chown, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FileTarget, Task } from "@starling/api";
import type { IdMaps } from "@starling/native";
import type { Dependencies } from "../dependencies/dependencies.ts";
import { TemporaryError } from "../exec/controller.ts";
import { hostOwner } from "./id-maps.ts";
import { containerSpecOf, type DependencyFile } from "./spec.ts";
import { expandPayload, type Payloads, type TemplateNode } from "./template.ts";

/** Folders of one task's container on this host. */
export interface ContainerFolders {
  /** Below the run folder: sockets, small files, secrets. Gone after a reboot, and so is the container. */
  readonly bundle: string;
  /** Below the state folder: what the container writes, and its log. */
  readonly data: string;
}

/** Makes a container's folders anew, empty but for the log, which outlives a second try. */
export async function makeFolders(folders: ContainerFolders): Promise<void> {
  await Promise.all([
    rm(folders.bundle, { recursive: true, force: true }),
    ...["upper", "work", "root"].map((name) => rm(join(folders.data, name), { recursive: true, force: true })),
  ]);
  await mkdir(join(folders.bundle, "files"), { recursive: true, mode: 0o700 });
  await Promise.all(["upper", "work", "root"].map((name) => mkdir(join(folders.data, name), { recursive: true })));
}

export async function removeFolders(folders: ContainerFolders): Promise<void> {
  await Promise.all([
    rm(folders.bundle, { recursive: true, force: true }),
    rm(folders.data, { recursive: true, force: true }),
  ]);
}

/**
 * Writes the secrets and configs that a task refers to, for binding into its container. The bundle lies on a tmpfs, so
 * their content reaches no disk. Owners are those of the container, with `ids`. One that has not been assigned yet:
 * TemporaryError.
 */
export async function writeDependencies(
  task: Task,
  dependencies: Dependencies,
  node: TemplateNode,
  bundle: string,
  ids: IdMaps | undefined,
): Promise<readonly DependencyFile[]> {
  const spec = containerSpecOf(task);
  const payloads: Payloads = {
    secret: (target) => {
      const id = spec.secrets.find(({ file }) => file?.name === target)?.secretId;
      return id === undefined ? undefined : dependencies.secret(id)?.spec.data;
    },
    config: (target) => {
      const id = spec.configs.find(({ file }) => file?.name === target)?.configId;
      return id === undefined ? undefined : dependencies.config(id)?.spec.data;
    },
  };
  const wanted: { readonly target: FileTarget; readonly folder: string; readonly data: Uint8Array }[] = [];
  for (const { secretId, secretName, file } of spec.secrets) {
    const secret = dependencies.secret(secretId);
    if (secret === undefined) throw new TemporaryError(`secret ${secretName || secretId} is not on this node yet`);
    const data = expandPayload(`secret ${secretName}`, secret.spec, task, node, payloads);
    if (file !== undefined) wanted.push({ target: file, folder: "/run/secrets", data });
  }
  for (const { configId, configName, file } of spec.configs) {
    const config = dependencies.config(configId);
    if (config === undefined) throw new TemporaryError(`config ${configName || configId} is not on this node yet`);
    // A runtime config (credential specs) is no file.
    if (file === undefined) continue;
    const data = expandPayload(`config ${configName}`, config.spec, task, node, payloads);
    wanted.push({ target: file, folder: "/", data });
  }
  const files: DependencyFile[] = [];
  for (const [i, { target, folder, data }] of wanted.entries()) {
    const source = join(bundle, "files", `dependency-${i}`);
    await writeFile(source, data, { mode: 0o400 });
    const { uid, gid } = hostOwner(ids, Number(target.uid) || 0, Number(target.gid) || 0);
    await chown(source, uid, gid);
    await chmod(source, target.mode & 0o777 || 0o444);
    files.push({ source, target: target.name.startsWith("/") ? target.name : join(folder, target.name) });
  }
  return files;
}

/** /etc/hosts of a container on the host's network: the host's, with the spec's own lines. */
export async function hostHosts(task: Task): Promise<string> {
  const host = await readFile("/etc/hosts", "utf8").catch(() => "127.0.0.1\tlocalhost");
  return `${[host.trimEnd(), ...containerSpecOf(task).hosts].join("\n")}\n`;
}

/** resolv.conf of a container without networks of its own: the host's, with what the spec sets. */
export async function hostResolvConf(task: Task): Promise<string> {
  const dns = containerSpecOf(task).dnsConfig;
  const host = await readFile("/etc/resolv.conf", "utf8").catch(() => "");
  const lines = dns !== undefined && dns.nameservers.length > 0 ? [] : host.split("\n").filter((line) => line !== "");
  for (const server of dns?.nameservers ?? []) lines.push(`nameserver ${server}`);
  if (dns !== undefined && dns.search.length > 0) lines.push(`search ${dns.search.join(" ")}`);
  if (dns !== undefined && dns.options.length > 0) lines.push(`options ${dns.options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}
