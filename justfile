# The steps of .ci/run by name; `just` alone lists them.

_list:
    @just --list

# Play the story with the real daemon
demo:
    .ci/run demo

# Unit tests and end-to-end tests, as in the README
test:
    .ci/run tests

# Everything that takes seconds: format, scripts, house rules, licences, shared builds
quick:
    .ci/run format scripts house dependencies shared_builds

# clippy with warnings as errors
lint:
    .ci/run lints

# Model checks of the queues
models:
    .ci/run models

# rustdoc with warnings as errors
doc:
    .ci/run documentation

# Instructions and fuel, compared with what is recorded
instructions:
    .ci/run instructions

# Everything, as before a merge
all:
    .ci/run
