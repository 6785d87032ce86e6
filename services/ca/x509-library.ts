import "reflect-metadata";
import * as library from "@peculiar/x509";

/** By a name of our own: a bundler gives a CommonJS package that is imported dynamically no names of its exports. */
export { library };
