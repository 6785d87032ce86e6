/**
 * Prints what is below a folder, one line of JSON an object, sorted by name: type, mode, owner, size, time, device, link, which
 * names are one file, content's digest; then the extended attributes: `node tree.ts FOLDER`.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Names are bytes: each becomes one character. */
const bytesOf = (path: string) => Buffer.from(path, "latin1");

function walk(root: string, path: string, inodes: Map<bigint, string>): void {
  const entries = readdirSync(bytesOf(`${root}/${path}`), { encoding: "buffer" }).map((name) =>
    name.toString("latin1"),
  );
  for (const name of entries.sort()) {
    const own = path === "" ? name : `${path}/${name}`;
    const file = bytesOf(`${root}/${own}`);
    const info = lstatSync(file, { bigint: true });
    const isFile = info.isFile();
    const first = info.isDirectory() ? own : (inodes.get(info.ino) ?? own);
    if (first === own) inodes.set(info.ino, own);
    const line = {
      path: own,
      mode: info.mode.toString(8),
      owner: `${info.uid}:${info.gid}`,
      mtimeNs: `${info.mtimeNs}`,
      sameAs: first,
      ...(isFile
        ? { size: Number(info.size), content: createHash("sha256").update(readFileSync(file)).digest("hex") }
        : {}),
      ...(info.isSymbolicLink() ? { link: readlinkSync(file, { encoding: "buffer" }).toString("latin1") } : {}),
      ...(info.isCharacterDevice() || info.isBlockDevice() ? { device: `${info.rdev}` } : {}),
    };
    console.log(JSON.stringify(line));
    if (info.isDirectory()) walk(root, own, inodes);
  }
}

const [root] = process.argv.slice(2);
if (root === undefined) throw new Error("usage: node tree.ts FOLDER");
walk(root, "", new Map());
const pattern = "^(user\\.|security\\.capability|system\\.posix_acl)";
// Its status is about links that lead nowhere.
const { stdout: blocks } = spawnSync("getfattr", ["-R", "-P", "-h", "-d", "-e", "hex", "-m", pattern, "."], {
  cwd: root,
  encoding: "latin1",
  maxBuffer: 1 << 28,
});
for (const block of blocks.split("\n\n").filter(Boolean).sort()) {
  const [name, ...attributes] = block.split("\n");
  if (name !== "# file: .") console.log(JSON.stringify({ attributesOf: name, attributes: attributes.sort() }));
}
