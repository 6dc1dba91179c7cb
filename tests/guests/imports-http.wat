;; A component that would like to talk to the world.
(component
  (import "wasi:http/outgoing-handler@0.2.3" (instance)))
