/**
 * Who runs this process is known once its identity is, and how large a young generation V8 has is chosen when Node starts: so a
 * manager whose starter (bin/swarmd of a distribution) took it for a worker, as it joined just now, starts anew in the
 * same process. Before it has opened anything: nothing is lost. Does nothing for programs run from sources.
 */
export function startAnewAsManager(env: NodeJS.ProcessEnv = process.env): void {
  const starter = env["STARLING_STARTER"];
  if (starter === undefined || env["STARLING_ROLE"] === "manager") return;
  process.execve!(starter, [starter, ...process.argv.slice(2)], { ...env, STARLING_ROLE: "manager" });
}
