;; A policy whose describe never returns.
(core module $main
  (memory (export "memory") 1)
  (data (i32.const 16) "wat")
  (data (i32.const 32) "0.0.1")
  ;; A description: name at 16 (3 bytes), version at 32 (5 bytes), no rules.
  (data (i32.const 64) "\10\00\00\00\03\00\00\00\20\00\00\00\05\00\00\00\00\00\00\00\00\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    i32.const 1024)
  (func (export "describe") (result i32)
    (loop $forever (br $forever))
    unreachable)
  (func (export "configure") (param i32 i32) (result i32)
    i32.const 256)
  (func (export "admit") (param i32) (result i32)
    unreachable))
