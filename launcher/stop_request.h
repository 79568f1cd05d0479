// What a signal asks of the training loop. Handlers can reach nothing but a static flag, so this is
// the one place of the program that has one.
#pragma once

namespace dualpath {

// From here on SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 are remembered instead of ending the process; a
// second SIGINT ends it at once.
void remember_stop_signals();

// Whether such a signal has arrived in this process.
bool stop_was_requested();

}  // namespace dualpath
