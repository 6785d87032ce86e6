import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { type PortConfig, PortConfig_Protocol, PortConfig_PublishMode, portProtocolOf, type Task } from "@starling/api";
import { FatalTaskError } from "../exec/controller.ts";

/**
 * Throws FatalTaskError when a program of this host listens on a port that the task publishes here in mode host: the
 * kernel would take its clients away from it. Other tasks' ports are no listeners: the scheduler keeps those apart.
 */
export async function checkHostPorts(task: Task): Promise<void> {
  for (const port of task.endpoint?.ports ?? []) {
    if (port.publishMode !== PortConfig_PublishMode.HOST || port.publishedPort === 0) continue;
    if (!(await isInUse(port))) continue;
    const name = `${port.publishedPort}/${portProtocolOf(port.protocol)}`;
    throw new FatalTaskError(`host port ${name} is already in use by a program on this node`);
  }
}

/** Asks the kernel by binding the port on all addresses, as its listener would have to. */
async function isInUse({ protocol, publishedPort: port }: PortConfig): Promise<boolean> {
  try {
    if (protocol === PortConfig_Protocol.UDP) await bindDatagram(port);
    else if (protocol === PortConfig_Protocol.TCP) await listen(port);
    return false;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "EADDRINUSE") return true;
    throw thrown;
  }
}

function listen(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ port, host: "0.0.0.0", exclusive: true }, () => server.close(() => resolve()));
  });
}

function bindDatagram(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ port, address: "0.0.0.0", exclusive: true }, () => socket.close(() => resolve()));
  });
}
