;; A core module: good WebAssembly, but not a component.
(module
  (memory (export "memory") 1)
  (func (export "check-sender") (result i32) i32.const 0))
