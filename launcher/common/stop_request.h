// What a signal asks of the work under way.
#pragma once

namespace dualpath {

// From here on these signals wait until remember_stop_signals() looks at them. System calls alone:
// to be called before anything else of the program, libraries included, has begun.
void hold_stop_signals();

// From here on SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 are remembered instead of ending the process; a
// second SIGINT ends it at once. REQUIRES: called once, while no other thread runs: the threads
// that start later leave these signals alone.
void remember_stop_signals();

// Whether such a signal has arrived in this process.
bool stop_was_requested();

}  // namespace dualpath
