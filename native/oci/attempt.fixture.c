// Attempts that a shell cannot make, for tests of safety: `attempt WHAT ARGUMENTS…` prints "done" or the error's name.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int Say(long outcome) {
  puts(outcome < 0 ? strerrorname_np(errno) : "done");
  return outcome < 0;
}

// Takes hold of a process, as a debugger does, and lets it go again.
static long Trace(pid_t pid) {
  if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0) return -1;
  ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
  waitpid(pid, NULL, __WALL);
  ptrace(PTRACE_DETACH, pid, NULL, NULL);
  return 0;
}

static long Keyctl(int operation, long a, long b, long c, long d) { return syscall(SYS_keyctl, operation, a, b, c, d); }

// The keys of user 0 are one ring for all of the machine.
static long FindKey(const char* name) {
  if (Keyctl(KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING, 0, 0) < 0) return -1;
  return Keyctl(KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, (long)"user", (long)name, 0);
}

static long AddKey(const char* name) { return syscall(SYS_add_key, "user", name, "secret", 6, KEY_SPEC_USER_KEYRING); }

static long DropKey(const char* name) {
  long key = FindKey(name);
  return key < 0 ? -1 : Keyctl(KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING, 0, 0);
}

int main(int count, char** words) {
  const char* what = count > 1 ? words[1] : "";
  const char* argument = count > 2 ? words[2] : "";
  if (strcmp(what, "trace") == 0) return Say(Trace(atoi(argument)));
  if (strcmp(what, "add-key") == 0) return Say(AddKey(argument));
  if (strcmp(what, "find-key") == 0) return Say(FindKey(argument));
  if (strcmp(what, "drop-key") == 0) return Say(DropKey(argument));
  if (strcmp(what, "unshare") == 0) return Say(unshare(CLONE_NEWUSER | CLONE_NEWNS));
  if (strcmp(what, "bpf") == 0) return Say(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno != EPERM ? 0 : -1);
  fprintf(stderr, "attempt: unknown: %s\n", what);
  return 2;
}
