import type { Socket } from "node:net";
import type { ProcessSpec } from "./bundle.ts";
import { ShimError } from "./shim.ts";
import { connectShim } from "./shim-socket.ts";

export interface ProgramOutput {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** Not yet taken by `output()`: beyond it nothing is read from the shim, which then does not read the program. */
const waitingMaxBytes = 1 << 20;
/** In one request; the shim takes 1 MiB of JSON. */
const writeMaxBytes = 256 << 10;

/**
 * Runs one more program in a container, with its streams here, or `detached` with none: then it outlives the stream that is
 * returned. Throws ShimError when it cannot be run.
 */
export function startProgram(
  bundle: string,
  process: ProcessSpec,
  { stdin = false, detached = false }: { readonly stdin?: boolean; readonly detached?: boolean } = {},
): Promise<ShimStream> {
  return ShimStream.open(bundle, { op: "stream", process, stdin, detached });
}

/** The container's own streams from now on. It goes on when this is closed. */
export function attachToContainer(bundle: string): Promise<ShimStream> {
  return ShimStream.open(bundle, { op: "attach" });
}

/**
 * The streams of a program over a connection of its own. Read `output()` to its end, which comes with the program's;
 * who does not read holds the program up. Closing it takes the program's terminal or pipes away.
 */
export class ShimStream {
  readonly #socket: Socket;
  #exec = 0;
  #pid = 0;
  #input = "";
  #nextId = 1;
  readonly #pending = new Map<number, { resolve(value: Message): void; reject(error: Error): void }>();
  readonly #waiting: ProgramOutput[] = [];
  #waitingBytes = 0;
  #wake: () => void = () => {};
  #ended = false;
  readonly #exit = Promise.withResolvers<number>();

  static async open(bundle: string, request: object): Promise<ShimStream> {
    const socket = await connectShim(bundle);
    if (socket === undefined) throw new ShimError("exec: the container does not run");
    const stream = new ShimStream(socket);
    try {
      const { exec, pid } = await stream.#request(request);
      stream.#exec = Number(exec);
      stream.#pid = Number(pid);
    } catch (error) {
      stream.close();
      throw error;
    }
    return stream;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text));
    socket.on("error", () => this.#end());
    socket.on("close", () => this.#end());
    this.#exit.promise.catch(() => {});
  }

  /** Of the program, in swarmd's PID namespace. */
  get pid(): number {
    return this.#pid;
  }

  /** The program's exit code, 128 + signal; rejects with ShimError when that is not known any more. */
  get exitCode(): Promise<number> {
    return this.#exit.promise;
  }

  async *output(): AsyncGenerator<ProgramOutput> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        this.#waitingBytes -= next.data.length;
        if (this.#waitingBytes < waitingMaxBytes) this.#socket.resume();
        yield next;
      } else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** Resolves when the program can read it. One at a time. Throws ShimError when it reads no more. */
  async write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += writeMaxBytes) {
      const part = Buffer.from(data.subarray(at, at + writeMaxBytes)).toString("base64");
      await this.#request({ op: "streamWrite", exec: this.#exec, data: part });
    }
  }

  /** End of the program's input. */
  async end(): Promise<void> {
    await this.#request({ op: "streamWrite", exec: this.#exec, data: "", eof: true });
  }

  async resize(size: { readonly rows: number; readonly columns: number }): Promise<void> {
    await this.#request({ op: "streamResize", exec: this.#exec, ...size });
  }

  async signal(number: number): Promise<void> {
    await this.#request({ op: "streamSignal", exec: this.#exec, signal: number });
  }

  close(): void {
    this.#socket.destroy();
    this.#end();
  }

  #request(request: object): Promise<Message> {
    if (this.#ended) return Promise.reject(new ShimError("exec: has ended"));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ v: 1, id, ...request })}\n`);
    });
  }

  #receive(text: string): void {
    this.#input += text;
    let start = 0;
    for (let end = this.#input.indexOf("\n"); end >= 0; end = this.#input.indexOf("\n", start)) {
      this.#take(JSON.parse(this.#input.slice(start, end)) as Message);
      start = end + 1;
    }
    this.#input = this.#input.slice(start);
    if (this.#waitingBytes >= waitingMaxBytes) this.#socket.pause();
  }

  #take(message: Message): void {
    if (message.event === "output") {
      const data = Buffer.from(String(message["data"]), "base64");
      this.#waiting.push({ stream: message["stream"] === "stderr" ? "stderr" : "stdout", data });
      this.#waitingBytes += data.length;
      this.#wake();
    } else if (message.event === "exit") {
      this.#exit.resolve(Number(message["exitCode"]));
      this.close();
    } else {
      const waiting = this.#pending.get(message.id ?? 0);
      this.#pending.delete(message.id ?? 0);
      if (message.ok) waiting?.resolve(message);
      else waiting?.reject(new ShimError(String(message["error"]), Number(message["errno"] ?? 0)));
    }
  }

  #end(): void {
    this.#ended = true;
    this.#wake();
    const gone = new ShimError("exec: the connection to the container's shim ended");
    this.#exit.reject(gone);
    for (const { reject } of this.#pending.values()) reject(gone);
    this.#pending.clear();
  }
}

interface Message {
  readonly id?: number;
  readonly ok?: boolean;
  readonly event?: "output" | "exit";
  readonly [member: string]: unknown;
}
