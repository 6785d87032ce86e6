// kill-at STEP WHAT -- PROGRAM ARGUMENT…
//
// Becomes PROGRAM, watched by a tracer. From the SIGWINCH that PROGRAM sends to itself, the tracer counts the system calls
// that change something outside the caller, made by PROGRAM and by each starling-shim that it starts (with the shim's
// container, until that executes its program). Before call number STEP is done it kills
//
//   swarmd   PROGRAM
//   shim     the process of a shim that makes the call; when PROGRAM makes it, the shims that there are
//   both     PROGRAM and all processes of shims
//
// and lets everything else go on untraced. One line on standard output says what happened: "killed at STEP: CALL by ROLE",
// or "ended after STEPS" when PROGRAM ended before. For x86-64 and arm64.
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 4096

enum role { ROOT, BETWEEN, SHIM, OTHER };
enum what { SWARMD, ONE_SHIM, BOTH };

static struct tracee {
  pid_t tid, tgid;
  enum role role;
} tracees[MANY];
static int count;
static pid_t root;
static bool begun;
static long steps, kill_step;
static enum what what;

static struct tracee *find(pid_t tid) {
  for (int i = 0; i < count; i++)
    if (tracees[i].tid == tid) return &tracees[i];
  return NULL;
}

// A number of /proc/TID/status; 0 when there is none.
static pid_t status_number(pid_t tid, const char *field) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/status", tid);
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  pid_t number = 0;
  while (fgets(line, sizeof line, file))
    if (strncmp(line, field, strlen(field)) == 0) number = atoi(line + strlen(field));
  fclose(file);
  return number;
}

static void link_of(char *text, size_t size, const char *format, pid_t tid, int fd) {
  char path[64];
  snprintf(path, sizeof path, format, tid, fd);
  ssize_t length = readlink(path, text, size - 1);
  text[length > 0 ? length : 0] = 0;
}

// A shim executes itself again from a mount where it has no name: the file counts.
static bool runs_shim(pid_t tid) {
  static struct stat shim;
  struct stat file;
  char path[64], exe[PATH_MAX];
  snprintf(path, sizeof path, "/proc/%d/exe", tid);
  if (stat(path, &file) < 0) return false;
  if (shim.st_ino != 0) return shim.st_ino == file.st_ino && shim.st_dev == file.st_dev;
  link_of(exe, sizeof exe, "/proc/%d/exe", tid, 0);
  const char *name = strrchr(exe, '/');
  if (!name || strcmp(name, "/starling-shim") != 0) return false;
  shim = file;
  return true;
}

// A thread is what its process is; the child of a shim is part of the shim until it executes another program.
static struct tracee *add(pid_t tid) {
  if (count == MANY) {
    fprintf(stderr, "kill-at: too many threads\n");
    _exit(125);
  }
  struct tracee *added = &tracees[count++];
  added->tid = tid;
  added->tgid = status_number(tid, "Tgid:");
  added->role = BETWEEN;
  if (added->tgid == root) added->role = ROOT;
  else if (runs_shim(tid)) added->role = SHIM;
  return added;
}

static void forget(struct tracee *gone) { *gone = tracees[--count]; }

// Standard streams carry only words to the test; event descriptors wake threads of the same process.
static bool writes_outside(pid_t tid, int fd) {
  char target[PATH_MAX];
  if (fd <= 2) return false;
  link_of(target, sizeof target, "/proc/%d/fd/%d", tid, fd);
  return strncmp(target, "anon_inode:", 11) != 0;
}

#define CALL(name) case SYS_##name: *text = #name; return true

static bool changes(const struct tracee *tracee, const struct __ptrace_syscall_info *info, const char **text) {
  const uint64_t *args = info->entry.args;
  switch (info->entry.nr) {
#ifdef SYS_open
    case SYS_open: *text = "open"; return (args[1] & (O_CREAT | O_TRUNC)) != 0;
    CALL(mkdir);
    CALL(rename);
    CALL(unlink);
    CALL(rmdir);
    CALL(symlink);
    CALL(link);
    CALL(mknod);
    CALL(chmod);
    CALL(chown);
    CALL(fork);
    CALL(vfork);
#endif
    case SYS_openat: *text = "openat"; return (args[2] & (O_CREAT | O_TRUNC)) != 0;
    case SYS_write: *text = "write"; return writes_outside(tracee->tid, (int)args[0]);
    case SYS_pwrite64: *text = "pwrite"; return writes_outside(tracee->tid, (int)args[0]);
    case SYS_writev: *text = "writev"; return writes_outside(tracee->tid, (int)args[0]);
    case SYS_clone: *text = "clone"; return (args[0] & CLONE_THREAD) == 0;
    // Node's threads are made by clone3, too.
    case SYS_clone3: *text = "clone3"; return tracee->role == SHIM;
    case SYS_exit_group: *text = "exit"; return tracee->role == SHIM;
    CALL(mkdirat);
    CALL(renameat);
    CALL(renameat2);
    CALL(unlinkat);
    CALL(symlinkat);
    CALL(linkat);
    CALL(mknodat);
    CALL(fchmod);
    CALL(fchmodat);
    CALL(fchownat);
    CALL(ftruncate);
    CALL(sendto);
    CALL(sendmsg);
    CALL(connect);
    CALL(bind);
    CALL(listen);
    CALL(execve);
    CALL(execveat);
    CALL(mount);
    CALL(umount2);
    CALL(pivot_root);
    CALL(open_tree);
    CALL(move_mount);
    CALL(mount_setattr);
    CALL(fsopen);
    CALL(fsmount);
    CALL(setns);
    CALL(unshare);
    CALL(setsid);
    CALL(sethostname);
    CALL(bpf);
    CALL(seccomp);
    CALL(capset);
    CALL(kill);
    CALL(pidfd_send_signal);
    default: return false;
  }
}

static void kill_role(enum role role) {
  for (int i = 0; i < count; i++)
    if (tracees[i].role == role) kill(tracees[i].tgid, SIGKILL);
}

// Shims and their callers, without the containers: these are in PID namespaces of their own.
static void kill_shims(void) {
  for (int i = 0; i < count; i++) {
    char own[64], ours[64];
    if (tracees[i].role != SHIM) continue;
    link_of(own, sizeof own, "/proc/%d/ns/pid", tracees[i].tid, 0);
    link_of(ours, sizeof ours, "/proc/%d/ns/pid", root, 0);
    if (strcmp(own, ours) == 0) kill(tracees[i].tgid, SIGKILL);
  }
}

__attribute__((noreturn)) static void finish(const struct tracee *at, const char *call) {
  // Said first: who reads it may wait for the end of those who are killed.
  printf("killed at %ld: %s by %s\n", steps, call, at->role == ROOT ? "swarmd" : "shim");
  fflush(stdout);
  if (what == SWARMD) kill(root, SIGKILL);
  else if (what == ONE_SHIM && at->role == SHIM) kill(at->tgid, SIGKILL);
  else if (what == ONE_SHIM) kill_shims();
  else {
    kill(root, SIGKILL);
    kill_role(SHIM);
  }
  // The end of a tracer lets all its tracees go on.
  _exit(0);
}

static void at_syscall(struct tracee *tracee) {
  struct __ptrace_syscall_info info;
  const char *call = NULL;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, tracee->tid, sizeof info, &info) <= 0) return;
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes(tracee, &info, &call)) return;
  if (getenv("KILL_AT_SHOW")) fprintf(stderr, "%ld %s %s\n", steps + 1, tracee->role == ROOT ? "swarmd" : "shim", call);
  if (++steps == kill_step) finish(tracee, call);
}

static void begin(void) {
  begun = true;
  // Those that run now learn at their next stop that their calls count.
  for (int i = 0; i < count; i++)
    if (tracees[i].role == ROOT) ptrace(PTRACE_INTERRUPT, tracees[i].tid, 0, 0);
}

static void go_on(const struct tracee *tracee, int signal_number) {
  bool counts = tracee->role == SHIM || (tracee->role == ROOT && begun);
  ptrace(counts ? PTRACE_SYSCALL : PTRACE_CONT, tracee->tid, 0, (long)signal_number);
}

static void at_exec(struct tracee *tracee) {
  if (tracee->role == ROOT) return;
  if (runs_shim(tracee->tid)) {
    tracee->role = SHIM;
    return;
  }
  ptrace(PTRACE_DETACH, tracee->tid, 0, 0);
  forget(tracee);
}

static void at_stop(pid_t tid, int status) {
  struct tracee *tracee = find(tid);
  if (!tracee) tracee = add(tid);
  int event = status >> 16, stop = WSTOPSIG(status);
  if (event == PTRACE_EVENT_EXEC) {
    at_exec(tracee);
    if (!(tracee = find(tid))) return;
  } else if (stop == (SIGTRAP | 0x80)) {
    at_syscall(tracee);
  } else if (event == 0 && stop == SIGWINCH && tracee->role == ROOT && !begun) {
    begin();
  } else if (event == 0) {
    go_on(tracee, stop);
    return;
  } else if (event == PTRACE_EVENT_STOP && (stop == SIGSTOP || stop == SIGTSTP)) {
    ptrace(PTRACE_LISTEN, tid, 0, 0);
    return;
  }
  go_on(tracee, 0);
}

static void trace(int ready) {
  long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
  if (ptrace(PTRACE_SEIZE, root, 0, options) < 0) {
    perror("kill-at: PTRACE_SEIZE");
    _exit(125);
  }
  add(root);
  if (write(ready, "", 1) != 1) _exit(125);
  close(ready);
  for (;;) {
    int status;
    pid_t tid = waitpid(-1, &status, __WALL);
    if (tid < 0) break;
    if (WIFSTOPPED(status)) {
      at_stop(tid, status);
      continue;
    }
    struct tracee *gone = find(tid);
    if (gone) forget(gone);
    if (tid == root) break;
  }
  printf("ended after %ld\n", steps);
}

int main(int argc, char **argv) {
  const char *names[] = {"swarmd", "shim", "both"};
  int ready[2];
  for (int i = 0; argc > 4 && i < 3; i++)
    if (strcmp(argv[2], names[i]) == 0) what = (enum what)i, kill_step = atol(argv[1]);
  if (kill_step < 1 || strcmp(argv[3], "--") != 0) {
    fprintf(stderr, "usage: kill-at STEP swarmd|shim|both -- PROGRAM ARGUMENT…\n");
    return 2;
  }
  root = getpid();
  if (pipe2(ready, O_CLOEXEC) < 0) return 125;
  pid_t tracer = fork();
  if (tracer < 0) return 125;
  if (tracer == 0) {
    close(ready[0]);
    close(0);
    trace(ready[1]);
    return 0;
  }
  char byte;
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) return 125;
  execvp(argv[4], argv + 4);
  perror(argv[4]);
  return 127;
}
