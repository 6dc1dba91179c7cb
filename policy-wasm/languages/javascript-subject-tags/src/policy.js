// What the component exports: the interfaces of its world.
export { lifecycle } from './lifecycle.js';
export { homing } from './homing.js';
