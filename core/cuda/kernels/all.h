// The kernels of all operations of core/ops/ops.h but matrix products, and their launches.
#pragma once

#include "core/cuda/kernels/attention.h"
#include "core/cuda/kernels/elementwise.h"
#include "core/cuda/kernels/intervention.h"
#include "core/cuda/kernels/loss.h"
#include "core/cuda/kernels/path.h"
#include "core/cuda/kernels/rope.h"
#include "core/cuda/kernels/rows.h"
