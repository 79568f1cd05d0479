// The verbs of the program, one constant each; main.cpp lists them.
#pragma once

#include "launcher/command.h"

namespace dualpath {

extern const Command bench_command;
extern const Command checkpoint_command;
extern const Command data_command;
extern const Command eval_command;
extern const Command generate_command;
extern const Command plan_command;
extern const Command routes_command;
extern const Command submit_command;
extern const Command sweep_command;
extern const Command tokenize_command;
extern const Command train_command;

}  // namespace dualpath
