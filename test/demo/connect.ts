/** Runs in a host: `node connect.ts COUNT HOST:PORT…` opens COUNT connections to each, prints the answers' first lines as JSON. */
import { connect } from "node:net";

const [count = "1", ...targets] = process.argv.slice(2);

/** One HTTP/1.0 request on a connection of its own; the body's first line, or `error: …`. */
function get(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let text = "";
    socket.setTimeout(3_000, () => socket.destroy(new Error("no answer within 3 s")));
    socket.on("connect", () => socket.write(`GET / HTTP/1.0\r\nHost: ${host}\r\n\r\n`));
    socket.on("data", (data) => {
      text += data.toString("utf8");
    });
    socket.on("error", (error) => resolve(`error: ${error.message}`));
    socket.on("close", () => resolve(text.split("\r\n\r\n")[1]?.split("\n")[0] ?? "error: closed without an answer"));
  });
}

const answers: Record<string, string[]> = {};
for (const target of targets) {
  const [host = "", port = "80"] = target.split(":");
  const list: string[] = [];
  for (let i = 0; i < Number(count); i++) list.push(await get(host, Number(port)));
  answers[target] = list;
}
process.stdout.write(JSON.stringify(answers));
