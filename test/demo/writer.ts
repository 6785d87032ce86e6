/**
 * Runs in a host: `node writer.ts SOCKET FILE` creates configs as fast as they are acknowledged, one after the other, and
 * writes the name of each acknowledged one to FILE before the next. A refused or unanswered write is tried again under a
 * new name. Ends at SIGTERM.
 */
import { appendFileSync } from "node:fs";
import { credentials } from "@grpc/grpc-js";
import { Annotations, ConfigSpec, Control, CreateConfigRequest } from "@starling/api";
import { RpcClient } from "@starling/api/rpc";

const [socket = "/run/swarmd.sock", file = "/dev/stdout"] = process.argv.slice(2);
const client = new RpcClient(`unix:${socket}`, credentials.createInsecure());
let stopping = false;
process.on("SIGTERM", () => {
  stopping = true;
});

for (let n = 0; !stopping; n++) {
  const name = `written-${process.pid}-${n}`;
  const spec = ConfigSpec.create({ annotations: Annotations.create({ name }), data: Buffer.from(name) });
  try {
    await client.call(Control.methods.createConfig, CreateConfigRequest.create({ spec }), { timeoutMs: 3_000 });
    appendFileSync(file, `${name}\n`);
  } catch {
    // Not acknowledged: it may or may not be there, and nobody is told that it is.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
client.close();
