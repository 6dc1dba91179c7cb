;; A component for a contract that does not exist yet.
(component
  (instance $empty)
  (export "posthouse:policy/lifecycle@9.0.0" (instance $empty))
  (export "posthouse:policy/homing@9.0.0" (instance $empty)))
