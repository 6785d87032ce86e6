// What the sanitizers of instrumented programs do, without an environment: a shim has none.
//
// Reports go to files, since a shim has no standard error and a container none of ours. Leaks are not looked for: these programs end
// by _exit or execve with all they have.
extern "C" const char* __asan_default_options();
extern "C" const char* __ubsan_default_options();

const char* __asan_default_options() { return "log_path=" STARLING_REPORTS ":detect_leaks=0:exitcode=99"; }
const char* __ubsan_default_options() { return "log_path=" STARLING_REPORTS ":print_stacktrace=1"; }
