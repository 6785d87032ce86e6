import { chmod, mkdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import type { ServiceTable } from "../index.ts";
import { widenManagersWindows } from "./receive-window.ts";
import { addService, type ServiceOptions } from "./server.ts";
import type { Handlers } from "./types.ts";

const serverOptions = {
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
  // Agents and peers that are gone are known by their heartbeats long before.
  "grpc.keepalive_time_ms": 60_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.max_concurrent_streams": 10_000,
  // Nobody asks for its counts, which each call would pay for.
  "grpc.enable_channelz": 0,
};

/** A service with its handlers, ready to be registered. */
export interface ServedService {
  register(server: Server, options: ServiceOptions): void;
}

export function serve<S extends ServiceTable>(table: S, handlers: Handlers<S>): ServedService {
  return { register: (server, options) => addService(server, table, handlers, options) };
}

/** Listens on `address` (`host:port`) with TLS. Throws Unavailable naming the address when it is taken. */
export async function listenRemote(
  address: string,
  credentials: ServerCredentials,
  services: readonly ServedService[],
  options: ServiceOptions,
): Promise<Server> {
  const server = new Server(serverOptions);
  for (const service of services) service.register(server, options);
  await bind(server, address.startsWith(":") ? `0.0.0.0${address}` : address, credentials);
  widenManagersWindows(server, options);
  return server;
}

/** Listens on a Unix socket that only root may use. A socket file of a process that is gone is replaced. */
export async function listenLocal(
  path: string,
  services: readonly ServedService[],
  options: ServiceOptions,
): Promise<Server> {
  await mkdir(dirname(path), { recursive: true });
  if (await answers(path)) {
    throw new SwarmError("AlreadyExists", `--listen-control-api ${path}: another swarmd answers there: stop it first`);
  }
  await rm(path, { force: true });
  const server = new Server(serverOptions);
  for (const service of services) service.register(server, options);
  await bind(server, `unix:${path}`, ServerCredentials.createInsecure());
  await chmod(path, 0o660);
  return server;
}

/** Lets the calls that are being answered finish, for `graceMs` at most; then ends all of them. */
export function shutDown(server: Server, { clock, graceMs }: { clock: Clock; graceMs: Millis }): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(graceMs, () => {
      server.forceShutdown();
      resolve();
    });
    server.tryShutdown(() => {
      timer.cancel();
      resolve();
    });
  });
}

function bind(server: Server, target: string, credentials: ServerCredentials): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(target, credentials, (error) => {
      if (error)
        reject(new SwarmError("Unavailable", `cannot listen on ${target}: ${error.message}`, { cause: error }));
      else resolve();
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
