import { closeSync, constants, openSync } from "node:fs";
import { createConnection, type Socket } from "node:net";

/** A connection to the shim of `bundle`; undefined when none listens there: it has ended, or never began. */
export function connectShim(bundle: string): Promise<Socket | undefined> {
  // A socket's path holds 107 bytes; through a descriptor of the folder it is short whatever the folder's name.
  let folder: number;
  try {
    folder = openSync(bundle, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return Promise.resolve(undefined);
  }
  return new Promise((resolve) => {
    const socket = createConnection({ path: `/proc/self/fd/${folder}/shim.sock` });
    const done = (result: Socket | undefined) => {
      closeSync(folder);
      resolve(result);
    };
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      done(socket);
    });
    socket.once("error", () => done(undefined));
  });
}
